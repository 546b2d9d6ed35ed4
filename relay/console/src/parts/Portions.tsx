/** A list that is known whole: its first rows, and a button for more, so that a thousand stop no browser. */
import { Button, Text } from '@mantine/core';
import { useState, type ReactNode } from 'react';
import { counted } from './words';
import classes from './InPages.module.css';

/** Rows that are shown at first, and more at each press. */
const ROWS = 50;

type Props<T> = { list: T[]; children: (shown: T[]) => ReactNode };

export function Portions<T>({ list, children }: Props<T>) {
  const [rows, setRows] = useState(ROWS);
  const rest = list.length - rows;
  return (
    <>
      {children(list.slice(0, rows))}
      {rest > 0 && (
        <div className={classes.more ?? ''}>
          <Text size="sm" c="dimmed">
            {counted(rows)} of {counted(list.length)}
          </Text>
          <Button variant="default" onClick={() => setRows(rows + ROWS)}>
            Show more
          </Button>
        </div>
      )}
    </>
  );
}
