/**
 * A provider of identities on this machine: npm's `oidc-provider`, a certified one, for tests. Its sign-in
 * form takes any password. Prints its address; run with where the relay listens, and its secret.
 */
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const [relay, secret, port] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const PEOPLE = {
  ann: { email: 'ann@example.com', email_verified: true, groups: ['staff'] },
  bob: { email: 'bob@example.com', email_verified: false, groups: ['staff'] },
  eve: { email: 'eve@elsewhere.example', email_verified: true, groups: [] },
};

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'tidegate',
      client_secret: secret,
      redirect_uris: [`${relay}/api/v1/session/oidc/callback`],
      response_types: ['code'],
      grant_types: ['authorization_code'],
    },
  ],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], groups: ['groups'] },
  scopes: ['openid', 'email', 'groups'],
  pkce: { required: () => true },
  features: { devInteractions: { enabled: true } },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, ...PEOPLE[id] }),
  }),
  cookies: { keys: ['only for tests'] },
});

createServer(provider.callback()).listen(Number(port), '127.0.0.1', () => {
  process.stdout.write(`ready ${issuer}\n`);
});
