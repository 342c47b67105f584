import { IdentityError } from '../../core/errors.ts';
import type { KubeObject } from '../../runtime/kubernetes/object.ts';

type Fields = Readonly<Record<string, unknown>>;

/**
 * Reads the Kubernetes objects of a YAML or JSON file: several documents, and lists as `kubectl get -o yaml` prints them.
 *
 * @throws IdentityError `invalid_argument` with the place
 */
export async function parseObjects(text: string): Promise<readonly KubeObject[]> {
  const { parseAllDocuments } = await import('../../runtime/yaml.ts');
  const documents = parseAllDocuments(text, { prettyErrors: true, uniqueKeys: true });
  return [...documents].flatMap((document, index) => {
    const [first] = document.errors;
    if (first !== undefined) throw new IdentityError('invalid_argument', `no valid YAML: ${first.message}`, { cause: first });
    return objectsOf(document.toJS({ maxAliasCount: 10 }), `document ${index + 1}`);
  });
}

/** Whether a text says itself that it holds nothing: one List without items, as `kubectl get -o yaml` prints it. */
export async function isEmptyList(text: string): Promise<boolean> {
  const { parseAllDocuments } = await import('../../runtime/yaml.ts');
  const values = [...parseAllDocuments(text)].map((document): unknown => document.toJS({ maxAliasCount: 10 }));
  return values.length === 1 && values.every((value) => isMapping(value) && isList(value) && value['items'].length === 0);
}

function isList(value: Fields): value is Fields & { readonly items: readonly unknown[] } {
  return typeof value['kind'] === 'string' && value['kind'].endsWith('List') && Array.isArray(value['items']);
}

function objectsOf(value: unknown, place: string): readonly KubeObject[] {
  if (value === null || value === undefined) return [];
  if (!isMapping(value)) throw new IdentityError('invalid_argument', `${place} is no Kubernetes object`);
  if (isList(value)) {
    return value.items.flatMap((item, index) => objectsOf(item, `${place}, item ${index + 1}`));
  }
  return [objectOf(value, place)];
}

function objectOf(value: Fields, place: string): KubeObject {
  const { kind, apiVersion, metadata } = value;
  if (
    typeof kind !== 'string' ||
    typeof apiVersion !== 'string' ||
    !isMapping(metadata) ||
    typeof metadata['name'] !== 'string'
  ) {
    throw new IdentityError(
      'invalid_argument',
      `${place} is no Kubernetes object: apiVersion, kind and metadata.name must be there`,
    );
  }
  return { ...value, kind, apiVersion, metadata };
}

function isMapping(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
