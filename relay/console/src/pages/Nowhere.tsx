/** A path at which there is no page. */
import { Button } from '@mantine/core';
import { IconMapOff } from '@tabler/icons-react';
import { Link } from 'react-router';
import { Nothing } from '../parts/Nothing';
import { Page } from '../parts/Page';

export function Nowhere() {
  return (
    <Page title="There is no such page">
      <Nothing
        icon={<IconMapOff />}
        title="The link may be old, or mistyped"
        action={
          <Button component={Link} to="/">
            To the overview
          </Button>
        }
      />
    </Page>
  );
}
