/** A key’s fingerprint, to be compared with the one on the host. */
import { Fragment } from 'react';
import classes from './Agents.module.css';

export function Fingerprint({ of }: { of: string }) {
  const groups = of.split(':');
  return (
    <code className={classes.fingerprint}>
      {groups.map((group, at) => (
        // Broken between groups only, and copied without what is not there.
        <Fragment key={at}>
          {at > 0 && ':'}
          <wbr />
          {group}
        </Fragment>
      ))}
    </code>
  );
}
