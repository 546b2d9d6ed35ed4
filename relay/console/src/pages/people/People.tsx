/** Who may do what here, people and programs, and what was done. For administrators. */
import { useQuery } from '@tanstack/react-query';
import { Alert, Button, Text } from '@mantine/core';
import { IconAlertTriangle, IconCircleCheck } from '@tabler/icons-react';
import { Page, Section } from '../../parts/Page';
import { ProblemNote } from '../../parts/ProblemNote';
import { counted } from '../../parts/words';
import { useMay } from '../entrance/Gate';
import { auditCheck } from './about';
import { Audit } from './Audit';
import { Tokens } from './Tokens';
import { Users } from './Users';

export default function People() {
  const isAdmin = useMay('admin');
  return (
    <Page title="People" about="Who may see, change and administer this workspace.">
      {isAdmin ? (
        <>
          <Users />
          <Tokens />
          <Section title="Audit log" actions={<Check />}>
            <Audit />
          </Section>
        </>
      ) : (
        <Text>Ask an administrator: your role does not reach here.</Text>
      )}
    </Page>
  );
}

function Check() {
  const check = useQuery({ ...auditCheck, enabled: false });
  if (check.isError) return <ProblemNote thrown={check.error} />;
  if (check.data) {
    const { intact, entries, broken_at: at } = check.data;
    const Icon = intact ? IconCircleCheck : IconAlertTriangle;
    return (
      <Alert
        role="status"
        color={intact ? 'green' : 'red'}
        icon={<Icon aria-hidden />}
        title={intact ? `As it was written: ${counted(entries ?? 0)} entries` : `Changed at ${at}`}
      />
    );
  }
  return (
    <Button
      size="compact-sm"
      variant="default"
      loading={check.isFetching}
      onClick={() => void check.refetch()}
    >
      Check that nothing was changed
    </Button>
  );
}
