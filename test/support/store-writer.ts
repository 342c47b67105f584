// A process that writes to a store until it is killed or refused, and says on standard output what was acknowledged:
// `wrote <entry id>` for each entry, then `refused <code> <message>`. Arguments: `sqlite <path>` or `postgres <url>`.
import { openStore } from '../../ca/store/open.ts';
import type { StoreConfig } from '../../ca/store/open.ts';
import { systemClock } from '../../core/clock.ts';
import { isIdentityError } from '../../core/errors.ts';
import { idAt, newEntry } from './entries.ts';

const [kind = '', where = '', prefix = 'e', pairs = '100000'] = process.argv.slice(2);
const config: StoreConfig = kind === 'postgres' ? { kind, url: where } : { kind: 'sqlite', path: where };

try {
  const store = await openStore(config, { clock: systemClock });
  for (let count = 0; count < Number(pairs); count += 1) {
    // Two in one transaction: both are there afterwards, or neither.
    const ids = [`${prefix}-${count}-a`, `${prefix}-${count}-b`];
    const { revision } = await store.mutate((tx) =>
      tx.createEntries(ids.map((id) => newEntry({ id, spiffeId: idAt(`/${id}`), dnsNames: [`${id}.example.org`] }))),
    );
    process.stdout.write(`wrote ${ids[0]} ${revision}\n`);
  }
  await store[Symbol.asyncDispose]();
} catch (error) {
  const code = isIdentityError(error) ? error.code : 'none';
  process.stdout.write(`refused ${code} ${error instanceof Error ? error.message : ''}\n`);
}
