/** Who is told what waits for a person, and whether it arrives. */
import { Button } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconBell, IconPlus } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { Nothing } from '../../parts/Nothing';
import { Page } from '../../parts/Page';
import { Portions } from '../../parts/Portions';
import { Told } from '../../parts/Told';
import { useMay } from '../entrance/Gate';
import { channels as channelsQuery } from './about';
import { AddChannel } from './AddChannel';
import { ChannelCard } from './ChannelCard';
import classes from './Notifications.module.css';

export default function Notifications() {
  const channels = useQuery(channelsQuery);
  const mayAdd = useMay('admin');
  const [isAdding, add] = useDisclosure(false);
  return (
    <Page
      title="Notifications"
      about="Who is told that something waits for a person, once, and again when it is over."
      actions={
        mayAdd && (
          <Button leftSection={<IconPlus size={16} aria-hidden />} onClick={add.open}>
            Add a channel
          </Button>
        )
      }
    >
      <Told query={channels}>
        {(list) =>
          list.length === 0 ? (
            <Nothing icon={<IconBell />} title="Nobody is told">
              A channel tells people in Slack, by e-mail or by a signed webhook when a sync stops,
              an agent is away, or a decision is needed. It holds no values of records.
              {!mayAdd && ' An administrator can add one.'}
            </Nothing>
          ) : (
            <div className={classes.cards}>
              <Portions list={list}>
                {(shown) =>
                  shown.map((channel) => <ChannelCard key={channel.name} channel={channel} />)
                }
              </Portions>
            </div>
          )
        }
      </Told>
      {isAdding && <AddChannel onClose={add.close} />}
    </Page>
  );
}
