import type { KubeClient } from '../../runtime/kubernetes/client.ts';
import { refText, type JsonObject } from '../ports.ts';
import type { StatusSink } from './status-writer.ts';

/** Writes into the status subresource. */
export function apiServerSink(client: Pick<KubeClient, 'patch'>): StatusSink {
  return {
    async write({ type, ref }, status, signal) {
      const name = { name: ref.name, ...(ref.namespace === '' ? {} : { namespace: ref.namespace }) };
      await client.patch(type, name, { status }, { kind: 'merge', subresource: 'status', signal });
    },
  };
}

/** Prints a line for each status. */
export function printingSink(write: (line: string) => void): StatusSink {
  return {
    write({ ref }, status) {
      write(`${refText(ref)}: ${statusLine(status)}\n`);
      return Promise.resolve();
    },
  };
}

/** A status in one line: `Ready (InForce): 3 entries in force`. */
export function statusLine(status: JsonObject): string {
  const { conditions, ...counts } = status;
  const ready = Array.isArray(conditions) ? conditions.find((each) => each.type === 'Ready') : undefined;
  if (ready === undefined) return JSON.stringify(counts);
  const state = ready.status === 'True' ? 'ready' : ready.status === 'False' ? 'not ready' : 'unknown';
  return `${state} (${ready.reason}): ${ready.message}`;
}
