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

/** A page of what a list yields in order of position. */
export function pageOf<R extends { readonly position: number }, T>(
  records: Iterable<R>,
  request: PageRequest,
  valueOf: (record: R) => T,
): Page<T> {
  const size = request.size === undefined || request.size <= 0 ? Number.POSITIVE_INFINITY : request.size;
  const items: T[] = [];
  let last = 0;
  for (const record of records) {
    if (items.length === size) return { items, nextToken: `${last}` };
    items.push(valueOf(record));
    last = record.position;
  }
  return { items, nextToken: '' };
}
