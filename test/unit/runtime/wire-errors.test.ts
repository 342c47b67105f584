import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { IdentityError } from '../../../core/errors.ts';
import { ErrorInfoSchema } from '../../../proto/gen/google/rpc/error_details_pb.ts';
import { DetailedError, publicError, WIRE_CODES } from '../../../runtime/wire-errors.ts';

describe('the table of wire codes', () => {
  it('has the gRPC number of each code', () => {
    expect(Object.fromEntries(Object.entries(WIRE_CODES).map(([code, { grpc }]) => [code, grpc]))).toEqual({
      cancelled: 1,
      invalid_argument: 3,
      deadline_exceeded: 4,
      not_found: 5,
      already_exists: 6,
      permission_denied: 7,
      resource_exhausted: 8,
      failed_precondition: 9,
      aborted: 10,
      out_of_range: 11,
      unimplemented: 12,
      internal: 13,
      unavailable: 14,
      unauthenticated: 16,
    });
  });

  it('has an HTTP status that says whose fault it was', () => {
    const serverFaults = Object.entries(WIRE_CODES).filter(([, { http }]) => http >= 500);
    expect(serverFaults.map(([code]) => code)).toEqual(['deadline_exceeded', 'unimplemented', 'internal', 'unavailable']);
    expect(WIRE_CODES.unauthenticated.http).toBe(401);
    expect(WIRE_CODES.permission_denied.http).toBe(403);
    expect(WIRE_CODES.not_found.http).toBe(404);
    expect(WIRE_CODES.resource_exhausted.http).toBe(429);
  });
});

describe('publicError', () => {
  it('shows an IdentityError without its cause', () => {
    const error = new IdentityError('unavailable', 'try later', { cause: new Error('secret'), retryAfterMs: 5, field: 'x' });
    expect(publicError(error)).toEqual({ code: 'unavailable', message: 'x: try later', retryAfterMs: 5, details: [] });
  });

  it('shows the details of a DetailedError', () => {
    const details = [{ desc: ErrorInfoSchema, message: create(ErrorInfoSchema, { reason: 'R' }) }];
    expect(publicError(new DetailedError('aborted', 'x', { details })).details).toEqual(details);
  });

  it.for([new Error('secret'), 'secret', undefined, { code: 'not_found', message: 'secret' }])(
    'shows nothing of %s',
    (thrown) => {
      expect(publicError(thrown)).toEqual({ code: 'internal', message: 'internal error', retryAfterMs: undefined, details: [] });
    },
  );
});
