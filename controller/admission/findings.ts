import { DecodeError } from '../../core/decode.ts';
import { IdentityError } from '../../core/errors.ts';
import type { ReviewFault } from './review.ts';

/** What was found in one state of an object. */
export interface Findings {
  readonly faults: readonly ReviewFault[];
  readonly warnings: readonly string[];
}

/** The faults that an error tells: each of a DecodeError, the one of another IdentityError. Anything else goes on. */
export function faultsOf(error: unknown): readonly ReviewFault[] {
  if (error instanceof DecodeError) return error.faults.map(({ path, message }) => ({ field: path, message }));
  if (!(error instanceof IdentityError)) throw error;
  // Not to be mistaken for a fault of the object: it passes.
  if (error.code === 'unavailable' || error.code === 'deadline_exceeded') throw error;
  return [faultOf(error.message, error.field)];
}

/** The faults of a piece of work; none when it succeeds. */
export function faultsIn(work: () => unknown): readonly ReviewFault[] {
  try {
    work();
    return [];
  } catch (error) {
    return faultsOf(error);
  }
}

/** A fault from a message that may begin with the field's path, as those of an IdentityError do. */
export function faultOf(message: string, field = fieldIn(message)): ReviewFault {
  const prefix = `${field}: `;
  return { field, message: message.startsWith(prefix) ? message.slice(prefix.length) : message };
}

function fieldIn(message: string): string {
  return /^(spec\.[\w.[\]]+): /.exec(message)?.[1] ?? '';
}
