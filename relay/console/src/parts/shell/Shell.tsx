/** What surrounds every page: where one is, where one can go, whether news come, who one is. */
import { ActionIcon, Drawer } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconMenu2 } from '@tabler/icons-react';
import { Suspense } from 'react';
import { Link, Outlet, useLocation } from 'react-router';
import { Loading } from '../Loading';
import { Brand } from './Brand';
import { Connected } from './Connected';
import { Links } from './Links';
import { News } from './News';
import { Person } from './Person';
import classes from './Shell.module.css';

export function Shell() {
  const [isOpen, menu] = useDisclosure(false);
  const { pathname } = useLocation();
  return (
    <div className={classes.shell}>
      <a className={classes.skip} href="#content">
        Skip to the content
      </a>
      <header className={classes.top}>
        <ActionIcon
          className={classes.menu}
          variant="subtle"
          color="gray"
          size="lg"
          aria-label="Open the menu"
          onClick={menu.open}
        >
          <IconMenu2 aria-hidden />
        </ActionIcon>
        <Link to="/" className={classes.home} aria-label="Tidegate: overview">
          <Brand />
        </Link>
        <div className={classes.right}>
          <News />
          <Person />
        </div>
      </header>
      <div className={classes.side}>
        <Links />
      </div>
      <Drawer opened={isOpen} onClose={menu.close} size={260} title={<Brand />}>
        <Links onGo={menu.close} />
      </Drawer>
      <main id="content" className={classes.content} tabIndex={-1}>
        <Connected />
        <Suspense key={pathname} fallback={<Loading />}>
          <Outlet />
        </Suspense>
      </main>
    </div>
  );
}
