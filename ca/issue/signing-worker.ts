import { sign } from 'node:crypto';
import { parentPort } from 'node:worker_threads';
import { signHere } from './sign-order.ts';
import { packResults, unpackJob, type JobMessage, type WorkerAuthority } from './signing-messages.ts';

// The entry point of a worker thread of SigningPool: verifies CSRs, makes, lints and signs certificates. Remembers the
// authority that it was told last, and nothing else.
let authority: WorkerAuthority | undefined;

parentPort?.on('message', (message: JobMessage) => {
  authority = message.authority ?? authority;
  if (authority === undefined) throw new Error('a signing worker was given work before an authority');
  const { key, hash, profile } = authority;
  const signed = unpackJob(message).map((order) => signHere(order, profile, (tbs) => sign(hash, tbs, key)));
  const answer = packResults(message.job, signed);
  parentPort?.postMessage(answer, [answer.bytes.buffer as ArrayBuffer]); // Sound: packResults allocates it.
});
