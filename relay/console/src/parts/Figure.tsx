/** A figure with its name, within a `dl`. */
import type { ReactNode } from 'react';
import classes from './Row.module.css';

type Props = {
  name: string;
  children: ReactNode;
  tone?: 'care' | 'bad' | undefined;
  wide?: boolean;
};

export function Figure({ name, children, tone, wide }: Props) {
  return (
    <div className={wide ? classes.wide : classes.figure}>
      <dt>{name}</dt>
      <dd className={tone ? classes[tone] : undefined}>{children}</dd>
    </div>
  );
}

/** Figures beside each other. */
export function Figures({ children }: { children: ReactNode }) {
  return <dl className={classes.figures}>{children}</dl>;
}
