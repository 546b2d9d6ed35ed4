/** What a test of a connection found: who one is there, and what is in the way, with its remedy. */
import { Alert, Text } from '@mantine/core';
import { IconAlertTriangle, IconCircleCheck } from '@tabler/icons-react';
import type { ConnectionTest } from '../../api/schema';
import { sentence } from '../../parts/ProblemNote';
import { many } from '../../parts/words';
import classes from './Connections.module.css';

export function Tested({ test }: { test: ConnectionTest }) {
  const Icon = test.ok ? IconCircleCheck : IconAlertTriangle;
  return (
    <Alert
      role="status"
      color={test.ok ? 'green' : 'red'}
      icon={<Icon aria-hidden />}
      title={test.ok ? 'It can be synced' : 'Something is in the way'}
    >
      <Text size="sm">
        Signed in to {test.database} as {test.user}, {test.server}: {many(test.tables, 'table')}
        {test.writable != null && `, ${test.writable} of them can be written`}.
      </Text>
      {test.problems.length > 0 && (
        <ul className={classes.problems}>
          {test.problems.map((problem) => (
            <li key={`${problem.code} ${problem.message}`}>
              <Text size="sm" {...(problem.blocking ? { className: classes.blocking } : {})}>
                {sentence(problem.message)}
              </Text>
              <Text size="sm">{sentence(problem.remedy)}</Text>
            </li>
          ))}
        </ul>
      )}
    </Alert>
  );
}
