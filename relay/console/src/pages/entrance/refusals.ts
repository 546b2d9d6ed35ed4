/** Why the provider's word did not let somebody in, by the codes with which the relay leads back here. */

const WORDS: Record<string, string> = {
  stale:
    'That sign-in is not under way any more: it took too long, was used already, or began in another browser or tab. Try again.',
  cancelled: 'The sign-in was cancelled. Try again, or sign in with a password.',
  'provider-unreachable':
    'The relay can’t reach the provider at present. Try again in a minute; who runs the relay finds the reason in its log.',
  'provider-answer':
    'The provider’s answer could not be verified. Try again; if it stays so, who runs the relay finds the reason in its log.',
  'unverified-email':
    'The provider tells no verified e-mail address of you. Verify yours there, or ask whoever runs it to pass it on.',
  'not-admitted':
    'You are known to the provider, but not let in here. Ask an admin of this relay to invite your e-mail address.',
  'name-taken':
    'A user with your e-mail address signs in otherwise. Sign in with the password first, then connect the provider in the menu under your name.',
  'connected-elsewhere':
    'That account of the provider belongs to another user of this relay already. Sign in as that user, or ask an admin to remove it.',
  'not-set-up':
    'Nobody administers this relay yet. Open the link that serve printed, or have an administrator sign in first.',
};

/** A sentence; undefined while nothing was refused. */
export function refusalWords(code: string | null): string | undefined {
  if (!code) return undefined;
  return WORDS[code] ?? 'The relay failed. Try again; the reason is in its log.';
}
