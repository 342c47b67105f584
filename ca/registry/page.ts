import { IdentityError } from '../../core/errors.ts';

/** Which part of a list is wanted. */
export interface PageRequest {
  /** At most so many; 0 or absent: all. */
  readonly size?: number;
  /** Where the last page ended; absent or empty: from the start. */
  readonly token?: string;
}

/** A part of a list, in order of creation. */
export interface Page<T> {
  readonly items: readonly T[];
  /** Token of the next page; empty when this is the last. */
  readonly nextToken: string;
}

/** The position after which a page begins. @throws IdentityError `invalid_argument` for a token that no page gave */
export function positionOf(token: string | undefined): number {
  if (token === undefined || token === '') return 0;
  const position = Number(token);
  if (!/^\d{1,16}$/.test(token) || !Number.isSafeInteger(position)) {
    throw new IdentityError('invalid_argument', 'not a token that this list gave; start again without one', {
      field: 'page_token',
    });
  }
  return position;
}
