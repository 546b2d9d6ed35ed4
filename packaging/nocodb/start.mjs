// NocoDB on 127.0.0.1 and the port PORT: its package is a library. Its other settings are environment
// variables of its own; the database is NC_DB.
import http from 'node:http';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
// The one that NocoDB itself uses.
const express = createRequire(require.resolve('nocodb'))('express');
const { Noco } = require('nocodb');

const app = express();
const server = http.createServer(app);
server.listen(Number(process.env.PORT), '127.0.0.1', async () => {
  app.use(await Noco.init({}, server, app));
});
