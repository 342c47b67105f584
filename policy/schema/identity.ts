import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import { parseTrustDomain } from '../../spiffe/trust-domain.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import { text } from './scalars.ts';
import { converted, ruled } from './schema.ts';
import type { Schema } from './schema.ts';

// SPIFFE-ID §2: a segment is never empty, `.` or `..`.
const SPIFFE_ID = /^spiffe:\/\/[a-z0-9._-]{1,255}(\/([.]{0,2}[A-Za-z0-9_-][A-Za-z0-9._-]*|[.]{3}[A-Za-z0-9._-]*))*$/;

/** A SPIFFE ID. */
export const spiffeId: Schema<SpiffeId> = converted(
  text({
    title: 'SPIFFE ID',
    maxLength: 2048,
    pattern: SPIFFE_ID,
    meaning: 'a SPIFFE ID, such as spiffe://example.org/payments/web',
  }),
  (value) => parseSpiffeId(value),
);

/** The SPIFFE ID of something in a trust domain, not of the trust domain itself. */
export const spiffeIdWithPath: Schema<SpiffeId> = ruled(spiffeId, {
  cel: 'size(self.split("/")) > 3',
  message: 'must have a path',
  holds: ({ path }) => path !== '',
});

/** Name of a trust domain. */
export const trustDomain: Schema<TrustDomain> = converted(
  text({
    title: 'trust domain',
    maxLength: 255,
    pattern: /^[a-z0-9._-]+$/,
    meaning: 'the name of a trust domain, such as example.org',
  }),
  (value) => parseTrustDomain(value),
);
