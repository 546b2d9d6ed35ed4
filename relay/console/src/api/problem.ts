/** Why the relay refused something, for people: its problem documents (RFC 9457), and no answer at all. */
import type { Problem } from './schema';

export class Refusal extends Error {
  /** 0: there was no answer. */
  readonly status: number;
  /** Stable: to be compared. */
  readonly code: string;
  readonly title: string;

  constructor(status: number, code: string, title: string, detail: string) {
    super(detail);
    this.name = 'Refusal';
    this.status = status;
    this.code = code;
    this.title = title;
  }

  static of(status: number, body: unknown): Refusal {
    if (isProblem(body)) return new Refusal(status, body.code, titleOf(body), body.detail);
    const detail = 'The answer was not understood: is a proxy in between that answers by itself?';
    return new Refusal(status, 'no-problem-document', `The relay answered ${status}`, detail);
  }

  static unreachable(): Refusal {
    const detail =
      'Check that the relay runs and that this machine reaches it. Nothing was changed.';
    return new Refusal(0, 'unreachable', 'The relay does not answer', detail);
  }
}

/** Titles of problem documents are those of HTTP; these say it in the console's words. */
const TITLES: Record<number, string> = {
  400: 'This was not understood',
  401: 'Sign in first',
  403: 'Not allowed',
  404: 'Not found',
  409: 'This does not go together',
  412: 'Somebody else was faster',
  422: 'This can’t be right',
  429: 'Too many tries',
  502: 'The other side can’t be reached',
  504: 'No answer in time',
};

function titleOf(problem: Problem): string {
  return TITLES[problem.status] ?? problem.title;
}

function isProblem(body: unknown): body is Problem {
  return typeof body === 'object' && body !== null && 'code' in body && 'detail' in body;
}

/** Whatever was thrown, as a refusal. */
export function refusalOf(thrown: unknown): Refusal {
  if (thrown instanceof Refusal) return thrown;
  const detail = thrown instanceof Error ? thrown.message : String(thrown);
  return new Refusal(0, 'console', 'The console failed', detail);
}
