import { IdentityError } from '../core/errors.ts';

/** Marks what has only its signature so far. */
export function notYet(..._unused: readonly unknown[]): never {
  throw new IdentityError('unimplemented', 'not built yet');
}
