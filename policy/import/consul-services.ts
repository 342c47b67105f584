// Services that intentions name, as callers of ours.

/** A service, or all (`*`) of a namespace, or of all namespaces. */
export interface ConsulService {
  readonly name: string;
  readonly namespace: string;
  /**
   * No namespace is written. Where Consul has none, it means services of every namespace of Kubernetes; where it has some, those of
   * one of them. Nobody can tell from the document: it is read as the first for a denial, as `namespace` for the rest.
   */
  readonly isAnywhere: boolean;
}

/** Fields of a clause about callers. Empty: everybody. */
export type CallerFields = Readonly<Record<string, readonly string[]>>;

/** Those that the service certainly stands for. Consul's `*` is about its own mesh: only registered callers are in a namespace. */
export function certainCallers({ name, namespace }: ConsulService): CallerFields {
  return name === '*' ? { namespaces: [namespace] } : { serviceAccounts: [`${namespace}/${name}`] };
}

/** All that the service may stand for. */
export function possibleCallers(service: ConsulService): CallerFields {
  if (isEverybody(service)) return {};
  return certainCallers(service.isAnywhere ? { ...service, namespace: '*' } : service);
}

/** Whether it may stand for every service. */
export function isEverybody({ name, namespace, isAnywhere }: ConsulService): boolean {
  return name === '*' && (namespace === '*' || isAnywhere);
}

/** Whether all that `other` certainly stands for is among what `one` stands for: certainly, or, `mayBe`, possibly. */
export function covers(one: ConsulService, other: ConsulService, mayBe: boolean): boolean {
  const isThere = one.namespace === '*' || one.namespace === other.namespace || (mayBe && one.isAnywhere);
  return isThere && (one.name === '*' || one.name === other.name);
}

/** Whether both may be about the same service. */
export function meets(one: ConsulService, other: ConsulService): boolean {
  const agree = (left: string, right: string): boolean => left === '*' || right === '*' || left === right;
  return agree(one.name, other.name) && (one.isAnywhere || other.isAnywhere || agree(one.namespace, other.namespace));
}

/** The more of it is written out, the sooner an intention decides. */
export function exactness({ name, namespace }: ConsulService): number {
  return namespace === '*' ? 0 : name === '*' ? 1 : 2;
}

/** `not` of a clause about none of these; nothing for none. */
export function noneOf(all: readonly CallerFields[]): { readonly not?: CallerFields } {
  const fields = new Map<string, Set<string>>();
  for (const [field, values] of all.flatMap((each) => Object.entries(each))) {
    fields.set(field, new Set([...(fields.get(field) ?? []), ...values]));
  }
  if (fields.size === 0) return {};
  return { not: Object.fromEntries([...fields].map(([field, values]) => [field, [...values]])) };
}
