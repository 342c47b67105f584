import { sign } from 'node:crypto';
import type { MessagePort } from 'node:worker_threads';
import { signHere } from './sign-order.ts';
import { packResults, unpackJob, type JobMessage, type WorkerAuthority } from './signing-messages.ts';

/**
 * What a worker thread does: verifies CSRs, makes, lints and signs certificates for every job that arrives at the port. It
 * remembers the authority that it was told last, and nothing else.
 */
export function serveSigning(port: Pick<MessagePort, 'on' | 'postMessage'>): void {
  let authority: WorkerAuthority | undefined;
  port.on('message', (message: JobMessage) => {
    authority = message.authority ?? authority;
    if (authority === undefined) throw new Error('a signing thread was given work before an authority');
    const { key, hash, profile } = authority;
    const signed = unpackJob(message).map((order) => signHere(order, profile, (tbs) => sign(hash, tbs, key)));
    const answer = packResults(message.job, signed);
    port.postMessage(answer, [answer.bytes.buffer]);
  });
}
