import { describe, expect, test } from 'vitest';
import { IdentityError, isIdentityError } from '../../../core/errors.ts';

describe('IdentityError', () => {
  test('carries code, field, cause and retry', () => {
    const cause = new Error('root');
    const error = new IdentityError('unavailable', 'store is down', { cause, field: 'store', retryAfterMs: 500 });
    expect(error).toMatchObject({ name: 'IdentityError', code: 'unavailable', field: 'store', retryAfterMs: 500, cause });
    expect(error.message).toBe('store: store is down');
    expect(error).toBeInstanceOf(Error);
  });

  test('has neither cause nor field unless given', () => {
    const error = new IdentityError('internal', 'text');
    expect(error.message).toBe('text');
    expect(Object.hasOwn(error, 'cause')).toBe(false);
    expect(error.retryAfterMs).toBeUndefined();
  });

  test('is told from others, by code when one is named', () => {
    const error = new IdentityError('not_found', 'no entry');
    expect(isIdentityError(error)).toBe(true);
    expect(isIdentityError(error, 'not_found')).toBe(true);
    expect(isIdentityError(error, 'internal')).toBe(false);
    expect(isIdentityError(new Error('x'))).toBe(false);
    expect(isIdentityError({ code: 'not_found' })).toBe(false);
    expect(isIdentityError(undefined)).toBe(false);
  });
});
