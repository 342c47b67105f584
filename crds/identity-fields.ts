// Values that several of our kinds have.
import { list } from '../policy/schema/collections.ts';
import { trustDomain } from '../policy/schema/identity.ts';
import { duration, text } from '../policy/schema/scalars.ts';
import { ruled } from '../policy/schema/schema.ts';

/** Other trust domains. */
export const trustDomains = list(trustDomain, { maxItems: 64, kind: 'set' });

/** Lifetime of an SVID. */
export const lifetime = duration({ min: '10s', max: '8760h' });

/** A template (Go's text/template). Only the webhook and the controller look into it. */
export const template = text({ title: 'template', maxLength: 4096 });

/** Templates that give one text each. */
export const templates = list(text({ title: 'template', maxLength: 2048 }), { maxItems: 64 });

const selectorTemplate = text({
  title: 'template',
  maxLength: 2048,
  pattern: /^[^:]+:|[{][{]/,
  meaning: 'a selector "type:value", such as k8s:container-name:app',
});

/** Templates of selectors. */
export const selectorTemplates = list(selectorTemplate, { maxItems: 64 });

/** Templates of selectors that an application team gives: each of them is rendered for each of its pods. */
export const teamSelectorTemplates = list(selectorTemplate, { maxItems: 8 });

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
