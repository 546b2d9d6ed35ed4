import { expect, test } from 'vitest';
import document from '../../../openapi.json';
import { EVERYTHING, toldOf } from './about';
import { EMPTY, addresses, bodyOf, changeOf, isChange, isWhole } from './filled';

const EMAIL = {
  ...EMPTY,
  way: 'email' as const,
  name: ' mail ',
  host: 'mail.example.com',
  from: 'relay@example.com',
  to: 'ops@example.com; ada@example.com\n',
};

test('every event that the relay knows can be chosen', () => {
  const known = document.components.schemas.ChannelEvent.enum;
  expect([...EVERYTHING].toSorted()).toEqual([...known].toSorted());
  expect(toldOf(null)).toBe('Everything');
  expect(toldOf(['agent.offline'])).toBe('An agent is not connected');
  expect(toldOf(['agent.offline', 'agent.held'])).toBe('2 of 16 kinds of events');
});

test('only what belongs to the chosen way is sent', () => {
  const slack = { ...EMAIL, way: 'slack' as const, url: ' https://hooks.slack.com/x ' };
  expect(bodyOf(slack)).toEqual({ name: 'mail', slack: { url: 'https://hooks.slack.com/x' } });
  expect(bodyOf(EMAIL)).toEqual({
    name: 'mail',
    email: {
      host: 'mail.example.com',
      security: 'tls',
      from: 'relay@example.com',
      to: ['ops@example.com', 'ada@example.com'],
    },
  });
  const signed = { ...EMAIL, user: 'relay', password: 'p', port: '2525', isPrivate: true };
  expect(bodyOf(signed)).toMatchObject({
    allow_private: true,
    email: { port: 2525, user: 'relay', password: 'p' },
  });
  const some = { ...slack, events: ['agent.offline' as const] };
  expect(bodyOf(some).events).toEqual(['agent.offline']);
});

test('what is missing keeps it from being sent', () => {
  expect(isWhole(EMAIL)).toBe(true);
  expect(isWhole({ ...EMAIL, to: ' ,' })).toBe(false);
  expect(isWhole({ ...EMAIL, user: 'relay' })).toBe(false);
  expect(isWhole({ ...EMAIL, port: 'smtp' })).toBe(false);
  expect(isWhole({ ...EMAIL, events: [] })).toBe(false);
  expect(isWhole({ ...EMPTY, name: 'ops' })).toBe(false);
  expect(isWhole({ ...EMPTY, name: 'ops', url: 'https://a' })).toBe(true);
});

test('addresses come with whatever people put between them', () => {
  expect(addresses('a@x.example,b@x.example; c@x.example\nd@x.example ')).toHaveLength(4);
  expect(addresses('  ')).toEqual([]);
});

test('a change sends what was filled in, and keeps an address that was left empty', () => {
  const kept = { allow_private: false };
  const slack = { ...EMPTY, way: 'slack' as const, name: 'ops' };
  expect(changeOf(slack, kept, false)).toEqual({});
  expect(isChange(slack, {})).toBe(false);
  const webhook = { ...EMPTY, way: 'webhook' as const, name: 'pager' };
  expect(changeOf(webhook, kept, true)).toEqual({ new_secret: true });
  const moved = { ...webhook, url: ' https://a.example/x ', isPrivate: true };
  const change = changeOf(moved, kept, false);
  expect(change).toEqual({ webhook: { url: 'https://a.example/x' }, allow_private: true });
  expect(isChange(moved, change)).toBe(true);
  const mail = { ...EMAIL, user: 'relay' };
  expect(changeOf(mail, kept, false).email?.password).toBeUndefined();
  expect(isChange(mail, changeOf(mail, kept, false))).toBe(true);
  expect(isChange({ ...mail, from: '' }, {})).toBe(false);
});
