/** What came of connecting oneself with the provider: the relay leads back with it in the address. */
import { Alert } from '@mantine/core';
import { useSearchParams } from 'react-router';
import { refusalWords } from '../../pages/entrance/refusals';

export function Connected() {
  const [search, setSearch] = useSearchParams();
  const refused = refusalWords(search.get('refused'));
  const isConnected = search.has('connected');
  if (!refused && !isConnected) return null;
  return (
    <Alert
      mb="md"
      color={refused ? 'red' : 'teal'}
      role={refused ? 'alert' : 'status'}
      title={refused ? 'Nothing was connected' : 'You are connected'}
      withCloseButton
      closeButtonLabel="Close"
      onClose={() => setSearch({}, { replace: true })}
    >
      {refused ?? 'From now on you can sign in with the provider, too.'}
    </Alert>
  );
}
