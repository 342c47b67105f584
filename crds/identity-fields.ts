// Values that several of our kinds have.
import { parseSpiffeId } from '../spiffe/spiffe-id.ts';
import type { SpiffeId } from '../spiffe/spiffe-id.ts';
import { parseTrustDomain } from '../spiffe/trust-domain.ts';
import type { TrustDomain } from '../spiffe/trust-domain.ts';
import { list } from './schema/collections.ts';
import { duration, text } from './schema/scalars.ts';
import { converted, ruled } from './schema/schema.ts';
import type { Schema } from './schema/schema.ts';

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

/** Other trust domains. */
export const trustDomains = list(trustDomain, { maxItems: 64, kind: 'set' });

/** Lifetime of an SVID. */
export const lifetime = duration({ min: '10s', max: '8760h' });

/** A template (Go's text/template). Only the webhook and the controller look into it. */
export const template = text({ title: 'template', maxLength: 4096 });

/** Templates that give one text each. */
export const templates = list(text({ title: 'template', maxLength: 2048 }), { maxItems: 64 });

/** Templates of selectors. */
export const selectorTemplates = list(
  text({
    title: 'template',
    maxLength: 2048,
    pattern: /^[^:]+:|[{][{]/,
    meaning: 'a selector "type:value", such as k8s:container-name:app',
  }),
  { maxItems: 64 },
);

/** Which controller is to act on a resource. */
export const className = text({ maxLength: 253, allowEmpty: true });

/** What a workload is told about the purpose of an SVID. */
export const hint = ruled(text({ maxLength: 1024, allowEmpty: true }), {
  cel: 'size(bytes(self)) <= 1024',
  message: 'must not be longer than 1024 bytes',
  holds: (value) => Buffer.byteLength(value) <= 1024,
});

/** Text that may be empty and then says the same as if it were absent. */
export function presentOr<T>(value: string | undefined, absent: T): string | T {
  return value === undefined || value === '' ? absent : value;
}
