/** The frame of the pages before one is in. */
import { Title } from '@mantine/core';
import { useEffect, type ReactNode } from 'react';
import { Brand } from '../../parts/shell/Brand';
import classes from './Door.module.css';

export function Door({ title, children }: { title: string; children: ReactNode }) {
  useEffect(() => {
    document.title = `${title} · Tidegate`;
  }, [title]);
  return (
    <main className={classes.door}>
      <div className={classes.box}>
        <Brand />
        <Title order={1} size="h3">
          {title}
        </Title>
        {children}
      </div>
    </main>
  );
}
