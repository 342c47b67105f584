import { expect, test, vi } from 'vitest';
import { CompiledPolicies, type PolicyDocument } from '../../../../ca/calls/compiled-policies.ts';
import { systemClock } from '../../../../core/clock.ts';
import { decide } from '../../../../policy/decide.ts';
import type { Call } from '../../../../policy/model.ts';
import { parsePolicy } from '../../../../policy/parse-policy.ts';
import { encodePolicy } from '../../../../policy/wire-policy.ts';
import { createLogger } from '../../../../runtime/log.ts';
import { authz } from '../../../support/policy/policy-objects.ts';

class Documents {
  readonly #byKey = new Map<string, PolicyDocument>();
  lastRevision = 0;

  put(...documents: readonly PolicyDocument[]): void {
    for (const each of documents) this.#byKey.set(`${each.namespace}/${each.name}`, each);
    this.lastRevision += 1;
  }

  delete(name: string): void {
    this.#byKey.delete(name);
    this.lastRevision += 1;
  }

  list(): Iterable<PolicyDocument> {
    return this.#byKey.values();
  }
}

function documentOf(name: string, spec: object): PolicyDocument {
  const policy = parsePolicy(authz(name, spec));
  return { ...policy.name, document: encodePolicy(policy) };
}

function start(documents: Documents): CompiledPolicies {
  const log = createLogger({ level: 'fatal', name: 'test' });
  return new CompiledPolicies({ documents, defaultAction: 'deny', clock: systemClock, log });
}

const call: Call = { source: {}, destination: { namespace: 'shop', selectors: new Set() }, atMs: 0 };

test('follows what is set, changed and deleted, and compiles nothing else anew', async () => {
  const documents = new Documents();
  const policies = start(documents);
  expect(decide(await policies.current(), call).reason).toBe('default_deny');
  documents.put(documentOf('a', { rules: [{}] }), documentOf('b', { rules: [] }));
  const first = await policies.current();
  expect(decide(first, call).verdict).toBe('allow');
  expect(await policies.current()).toBe(first);
  documents.put(documentOf('a', { action: 'DENY', rules: [{ when: 'destination.namespace == "shop"' }] }));
  const second = await policies.current();
  expect(decide(second, call).reason).toBe('denied_by_rule');
  expect(second.policies.get('AuthorizationPolicy/shop/b')).toBe(first.policies.get('AuthorizationPolicy/shop/b'));
  documents.delete('shop/a');
  documents.delete('shop/b');
  expect(decide(await policies.current(), call).reason).toBe('default_deny');
});

test('a policy that cannot be read opens nothing: it denies until it is replaced', async () => {
  const documents = new Documents();
  const policies = start(documents);
  documents.put(documentOf('a', { rules: [{}] }), documentOf('b', { rules: [] }));
  await policies.current();
  const unreadable = { kind: 'AuthorizationPolicy', namespace: 'shop', name: 'b', document: '{"resource":{"kind":"Later"}}' };
  documents.put(unreadable);
  expect(decide(await policies.current(), call).reason).toBe('denied_by_rule');
  documents.put(documentOf('b', { rules: [] }));
  expect(decide(await policies.current(), call).verdict).toBe('allow');
});

test('who asks while it is brought up to date gets the newest', async () => {
  const documents = new Documents();
  const policies = start(documents);
  documents.put(documentOf('a', { rules: [{}] }));
  const early = policies.current();
  documents.put(documentOf('b', { action: 'DENY', rules: [{}] }));
  expect(decide(await policies.current(), call).verdict).toBe('deny');
  await early;
});

test('many policies are compiled in turns', async () => {
  const documents = new Documents();
  const policies = start(documents);
  const rules = Array.from({ length: 5 }, (_, index) => ({ from: [{ serviceAccounts: [`web-${index}`] }] }));
  documents.put(...Array.from({ length: 3000 }, (_, index) => documentOf(`ns-${index % 50}/p-${index}`, { rules })));
  let turns = 0;
  let next = setImmediate(function count() {
    turns += 1;
    next = setImmediate(count);
  });
  await policies.current();
  clearImmediate(next);
  expect(turns).toBeGreaterThan(5);
});

test('what was copied once is not copied again: the index is built in one piece, however many turns it takes', async () => {
  const documents = new Documents();
  const policies = start(documents);
  documents.put(documentOf('first', { rules: [{}] }));
  const first = await policies.current();
  documents.put(...Array.from({ length: 1500 }, (_, index) => documentOf(`ns-${index % 50}/p-${index}`, { rules: [{}] })));
  const edits = vi.spyOn(first, 'edit');
  const second = await policies.current();
  expect(second.policies.size).toBe(1501);
  expect(edits).toHaveBeenCalledOnce();
});
