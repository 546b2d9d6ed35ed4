/** A moment: how long ago at a glance, exactly on request, in the viewer's zone. */
import { Tooltip } from '@mantine/core';
import { useEffect, useState } from 'react';
import { exactly, fromNow } from './words';

const EVERY_MS = 15_000;

export function When({ at }: { at: string }) {
  const date = new Date(at);
  const [now, setNow] = useState(() => new Date());
  useEffect(() => {
    const timer = setInterval(() => setNow(new Date()), EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  if (Number.isNaN(date.getTime())) return <>{at}</>;
  return (
    <Tooltip label={exactly(date)}>
      <time dateTime={at}>{fromNow(date, now)}</time>
    </Tooltip>
  );
}
