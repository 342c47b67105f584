import type { Clock, Timer } from '../../core/clock.ts';
import { Current, type Source } from '../../core/current.ts';
import type { IdentityError } from '../../core/errors.ts';

// A CA that is restarted or replaced is back by then; 200 statuses need not say so.
const LASTING_MS = 10_000;

/** An outage once it has lasted for a while; undefined before that, and afterwards. */
export function lastingOutage(outage: Source<IdentityError | undefined>, clock: Clock): Source<IdentityError | undefined> {
  const lasting = new Current<IdentityError | undefined>(undefined);
  let timer: Timer | undefined;
  outage.subscribe((error) => {
    if (error !== undefined) {
      timer ??= clock.setTimer(LASTING_MS, () => lasting.set(outage.value));
      return;
    }
    timer?.cancel();
    timer = undefined;
    lasting.set(undefined);
  });
  return lasting;
}
