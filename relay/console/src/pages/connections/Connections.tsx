/** Connections: the two kinds of ends that a sync can have, and whether each can be used. */
import { Button } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconPlugConnected, IconPlus } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { connections as connectionsQuery } from '../../api/queries';
import { Nothing } from '../../parts/Nothing';
import { Page } from '../../parts/Page';
import { Portions } from '../../parts/Portions';
import { Told } from '../../parts/Told';
import { useMay } from '../entrance/Gate';
import { AddConnection } from './AddConnection';
import { ConnectionCard } from './ConnectionCard';
import classes from './Connections.module.css';

export default function Connections() {
  const connections = useQuery(connectionsQuery);
  const mayAdd = useMay('editor');
  const [isAdding, add] = useDisclosure(false);
  return (
    <Page
      title="Connections"
      about="The databases and apps that syncs are made between."
      actions={
        mayAdd && (
          <Button leftSection={<IconPlus size={16} aria-hidden />} onClick={add.open}>
            Add a connection
          </Button>
        )
      }
    >
      <Told query={connections}>
        {(list) =>
          list.length === 0 ? (
            <Nothing icon={<IconPlugConnected />} title="No connections yet">
              A sync needs two: a PostgreSQL, and the app or database on its other side.
            </Nothing>
          ) : (
            <div className={classes.cards}>
              <Portions list={list}>
                {(shown) =>
                  shown.map((connection) => (
                    <ConnectionCard key={connection.name} connection={connection} />
                  ))
                }
              </Portions>
            </div>
          )
        }
      </Told>
      {isAdding && <AddConnection onClose={add.close} />}
    </Page>
  );
}
