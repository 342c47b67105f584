import type { PolicyResource, PolicyResourceKind } from '../../ca/model.ts';
import { encodePolicy, encodeRequestAuthentication } from '../../policy/wire-policy.ts';
import { parsePolicy } from '../../policy/parse-policy.ts';
import { parseRequestAuthentication } from '../../policy/resources/request-authentication.ts';

/** A policy resource by its key, such as `AuthorizationPolicy/shop/orders`, with an otherwise valid document. */
export function policyResource(
  key: string,
  fields: { readonly generation?: number; readonly spec?: object } = {},
): PolicyResource {
  const [kind = '', namespace = '', name = ''] = key.split('/');
  const { generation = 1, spec } = fields;
  const metadata = { name, ...(namespace === '' ? {} : { namespace }), generation };
  // The cast is sound: tests name kinds that there are.
  const parts = { kind: kind as PolicyResourceKind, namespace, name, generation };
  if (kind === 'RequestAuthentication') {
    const issuers = [{ issuer: 'https://login.example.org', audiences: ['orders'] }];
    const resource = parseRequestAuthentication({ kind, metadata, spec: spec ?? { issuers } });
    return { ...parts, document: encodeRequestAuthentication(resource) };
  }
  return { ...parts, document: encodePolicy(parsePolicy({ kind, metadata, spec: spec ?? { rules: [{}] } })) };
}

/** The same as it travels to the CA. */
export function policyOnWire(key: string, fields: Parameters<typeof policyResource>[1] = {}) {
  const { kind, namespace, name, document } = policyResource(key, fields);
  return { name: { kind, namespace, name }, document };
}
