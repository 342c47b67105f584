import { IdentityError, type ErrorCode } from '../../core/errors.ts';
import { publicError, WIRE_CODES } from '../../runtime/wire-errors.ts';

/** A `types.Status`: how one item of a batch fared. */
export interface ItemStatus {
  readonly code: number;
  readonly message: string;
}

/** The status of an item that went well. */
export const ITEM_OK: ItemStatus = { code: 0, message: 'OK' };

/** The status of an item that failed with this error. */
export function itemStatus(thrown: unknown): ItemStatus {
  const { code, message } = publicError(thrown);
  return { code: WIRE_CODES[code].grpc, message };
}

/**
 * An error with what was being done in front of its text; what is not an {@link IdentityError} passes unchanged.
 *
 * @param code replaces the error's own code, except `unavailable`, which always says that the same call may succeed later
 */
export function during(doing: string, thrown: unknown, code?: ErrorCode): unknown {
  if (!(thrown instanceof IdentityError)) return thrown;
  const kept = thrown.code === 'unavailable' ? thrown.code : (code ?? thrown.code);
  const retry = thrown.retryAfterMs === undefined ? {} : { retryAfterMs: thrown.retryAfterMs };
  return new IdentityError(kept, `${doing}: ${thrown.message}`, { cause: thrown, ...retry });
}

/** Runs `work`; an error of it says first what was being done. */
export function attempt<T>(doing: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw during(doing, error);
  }
}
