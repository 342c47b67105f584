// A service with the middleware: answers whomever policy allows. Arguments: WORKLOAD_SOCKET PORT. The agent's other socket lies
// beside the first.
import { dirname, join } from 'node:path';

import {
  authorizeAny,
  createAuthorizationClient,
  createSpiffeHttpsServer,
  requireAuthorization,
  X509Source,
} from '../../../client/index.ts';

const [socket = '', port = '0'] = process.argv.slice(2);
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => process.exit());

const source = await X509Source.open({ address: `unix://${socket}` });
const client = createAuthorizationClient({ socket: join(dirname(socket), 'authz.sock') });
const authorize = requireAuthorization(client);
createSpiffeHttpsServer(source, { authorize: authorizeAny() }, (request, response) =>
  authorize(request, response, () => response.end(`${request.authorization?.source?.toString()}\n`)),
).listen(Number(port));
