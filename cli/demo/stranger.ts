// A process that no entry names. It asks the agent for an identity, then tries its luck without one.
import { connect } from 'node:tls';

import { isIdentityError, WorkloadApi } from '../../client/index.ts';

const [port = '0'] = process.argv.slice(2);

using api = new WorkloadApi();
try {
  await api.fetchX509Context();
  process.stdout.write('the agent gave it an identity, which it must not\n');
  process.exitCode = 1;
} catch (error) {
  if (!isIdentityError(error, 'permission_denied')) throw error;
  process.stdout.write(`the agent: ${error.message}\n`);
}

const outcome = await new Promise<string>((resolve) => {
  // No certificate is presented and none is checked: whatever refuses this connection is the service.
  const socket = connect({ host: '127.0.0.1', port: Number(port), rejectUnauthorized: false }, () =>
    socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n'),
  );
  socket.once('data', () => resolve('answered'));
  socket.once('error', (error: NodeJS.ErrnoException) =>
    resolve(`refused in the TLS handshake (${error.code ?? error.message})`),
  );
  socket.once('close', () => resolve('refused: connection closed'));
});
process.stdout.write(`the service: ${outcome}\n`);
if (outcome === 'answered') process.exitCode = 1;
