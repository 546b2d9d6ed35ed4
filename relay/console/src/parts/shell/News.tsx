/** Whether what is shown is what is: the event stream's state. */
import { Tooltip } from '@mantine/core';
import { useFeed } from '../../api/live';
import classes from './News.module.css';

const WORDS = {
  live: ['Live', 'What you see changes as it happens.'],
  connecting: ['Connecting', 'The relay’s news are being asked for.'],
  lost: [
    'Not live',
    'The relay does not tell its news. It is asked again; what you see may be old.',
  ],
} as const;

export function News() {
  const { link } = useFeed();
  const [word, about] = WORDS[link];
  return (
    <Tooltip label={about}>
      <span className={classes.news} role="status" data-link={link}>
        <span className={classes.dot} aria-hidden />
        {word}
      </span>
    </Tooltip>
  );
}
