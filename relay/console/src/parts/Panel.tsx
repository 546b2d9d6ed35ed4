/** A surface on the page's ground. */
import type { ReactNode } from 'react';
import classes from './Panel.module.css';

type Props = { children: ReactNode; className?: string | undefined; flush?: boolean };

export function Panel({ children, className, flush }: Props) {
  const names = [classes.panel, flush ? classes.flush : undefined, className];
  return <div className={names.filter(Boolean).join(' ')}>{children}</div>;
}
