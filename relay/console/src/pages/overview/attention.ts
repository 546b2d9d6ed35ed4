/** What needs a person, of all that the relay tells: the worst first. Pure. */
import type { AgentStatus, ConnectionInfo, SlotStatus, SyncStatus } from '../../api/schema';
import { many, span } from '../../parts/words';
import { brokenLeg } from './legs';

/** Below this much room a slot is worth a person's look, hours. */
const RUNWAY_HOURS_MIN = 24;

export type Attention = {
  /** `bad`: something stands still. `care`: it will, or records wait. */
  level: 'bad' | 'care';
  about: string;
  what: string;
  detail?: string;
  to: string;
};

export function attention(
  syncs: SyncStatus[],
  agents: AgentStatus[],
  connections: ConnectionInfo[] = [],
): Attention[] {
  const ofOne = (sync: SyncStatus) => ofSync(sync, agents, connections);
  const found = [...syncs.flatMap(ofOne), ...agents.flatMap(ofAgent)];
  return found.toSorted((a, b) => rank(a) - rank(b));
}

function rank(one: Attention): number {
  return one.level === 'bad' ? 0 : 1;
}

function ofSync(
  sync: SyncStatus,
  agents: AgentStatus[],
  connections: ConnectionInfo[],
): Attention[] {
  const found: Attention[] = [];
  const to = `/syncs/${encodeURIComponent(sync.name)}`;
  const add = (level: Attention['level'], what: string, detail?: string | null, at = to) =>
    found.push({ level, about: sync.name, what, to: at, ...(detail ? { detail } : {}) });
  const inbox = (list: string) => `/inbox?sync=${encodeURIComponent(sync.name)}&list=${list}`;
  const leg = brokenLeg(sync, connections, agents);
  const where = leg ? `: broken between ${leg.between}` : '';
  if (sync.state === 'failed') add('bad', `has failed${where}`, sync.last_error);
  if (sync.state === 'waiting') {
    add(leg ? 'bad' : 'care', `is waiting${where}`, sync.last_error, leg?.to);
  }
  if (sync.verified && !sync.verified.equal) {
    const differences = many(sync.verified.difference_count, 'difference');
    add('care', `had ${differences} at its last verify`);
  }
  if (sync.asked > 0) {
    const conflicts = many(sync.asked, 'conflict');
    const wait = sync.asked === 1 ? 'waits' : 'wait';
    add('care', `has ${conflicts} that ${wait} for your pick`, undefined, inbox('conflicts'));
  }
  if (sync.findings > 0) {
    const records = many(sync.findings, 'record');
    add('care', `has ${records} that can’t be synced`, undefined, inbox('findings'));
  }
  for (const slot of sync.slots ?? []) {
    const said = ofSlot(slot, sync);
    if (said) add(...said);
  }
  return found;
}

function ofSlot(
  slot: SlotStatus,
  sync: SyncStatus,
): [Attention['level'], string, string?] | undefined {
  const name = slot.side === 'left' ? sync.left : sync.right;
  if (slot.state === 'lost') {
    return ['care', `lost its place in the changes of ${name}`, slot.warning ?? undefined];
  }
  const hours = slot.runway_hours;
  if (hours != null && hours < RUNWAY_HOURS_MIN) {
    const left = span(hours * 3_600_000);
    return ['care', `has room for ${left} of changes on ${name}`, slot.warning ?? undefined];
  }
  return slot.warning ? ['care', `has a warning for ${name}`, slot.warning] : undefined;
}

function ofAgent(agent: AgentStatus): Attention[] {
  const about = `Agent ${agent.name}`;
  if (agent.state === 'offline') {
    const detail = 'Its databases can’t be reached. Look at its host: tidegate-agent status.';
    return [{ level: 'bad', about, what: 'is offline', detail, to: '/agents' }];
  }
  if (agent.held) {
    const what = `holds ${agent.held === 'writes' ? 'writes' : 'everything'} back`;
    const detail = agent.held_reason ?? undefined;
    return [{ level: 'care', about, what, to: '/agents', ...(detail ? { detail } : {}) }];
  }
  return [];
}

/** One line about everything. */
export function verdict(syncs: SyncStatus[], attentions: Attention[]): string {
  const bad = attentions.filter((one) => one.level === 'bad').length;
  if (bad > 0) return `${many(bad, 'thing')} ${bad === 1 ? 'stands' : 'stand'} still`;
  if (attentions.length > 0) {
    return `${many(attentions.length, 'thing')} ${attentions.length === 1 ? 'needs' : 'need'} a look`;
  }
  const copying = syncs.filter((sync) => sync.state === 'copying').length;
  if (copying > 0) return `${many(copying, 'sync')} under way, everything else is well`;
  return 'Everything is well';
}
