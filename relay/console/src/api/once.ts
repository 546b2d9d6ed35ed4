/**
 * Requests that make something are made once: a double click waits for the first, and whoever tries again
 * after an answer that got lost gets that answer, since the relay knows the request by its key.
 */
import { useState } from 'react';

type Key = { 'idempotency-key': string };
type Try = { of: string; key: string; going?: Promise<unknown> };

/** `make` is called with the header to send. The same body has the same key until it has succeeded. */
export class Once {
  #last: Try | undefined;

  make<T>(body: unknown, send: (header: Key) => Promise<T>): Promise<T> {
    const of = JSON.stringify(body);
    if (this.#last?.of !== of) this.#last = { of, key: newKey() };
    const tried = this.#last;
    // Of the same body, so it answers the same.
    if (tried.going) return tried.going as Promise<T>;
    const going = send({ 'idempotency-key': tried.key }).then(
      (made) => {
        if (this.#last === tried) this.#last = undefined;
        return made;
      },
      (thrown: unknown) => {
        delete tried.going;
        throw thrown;
      },
    );
    tried.going = going;
    return going;
  }
}

/** One for each form. */
export function useOnce(): Once {
  const [once] = useState(() => new Once());
  return once;
}

/** Not `randomUUID`: browsers have that by TLS only, and a relay may be tried out without. */
function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
