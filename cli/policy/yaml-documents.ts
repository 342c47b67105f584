import { IdentityError } from '../../core/errors.ts';

/**
 * The documents of a YAML or JSON text; lists (`kubectl get -o yaml`) are taken apart, empty documents left out.
 *
 * @throws IdentityError `invalid_argument` that names the file
 */
export async function documentsOf(text: string, file: string): Promise<readonly object[]> {
  const { parseAllDocuments } = await import('../../runtime/yaml.ts');
  const parsed = [...parseAllDocuments(text)];
  return parsed.flatMap((document, index) => {
    const [error] = document.errors;
    if (error !== undefined) {
      throw new IdentityError('invalid_argument', `${file} is neither YAML nor JSON: ${error.message}`, { cause: error });
    }
    const value = valueOf(document, `${file}, document ${index}`);
    if (value === null || value === undefined) return [];
    if (typeof value !== 'object') {
      throw new IdentityError('invalid_argument', `${file}, document ${index}: must be a mapping`);
    }
    const items: unknown = Reflect.get(value, 'items');
    if (Array.isArray(value)) return value.filter(isObject);
    return Array.isArray(items) && String(Reflect.get(value, 'kind')).endsWith('List') ? items.filter(isObject) : [value];
  });
}

/** What a document holds. The library refuses aliases that would unfold to very much. */
function valueOf(document: { toJS(): unknown }, place: string): unknown {
  try {
    return document.toJS();
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : 'unknown reason';
    throw new IdentityError('invalid_argument', `${place}: cannot be unfolded: ${why}`, { cause });
  }
}

/** The one document of a text. @throws IdentityError `invalid_argument` when there is none, or more than one */
export async function documentOf(text: string, file: string): Promise<object> {
  const [document, another] = await documentsOf(text, file);
  if (document !== undefined && another === undefined) return document;
  throw new IdentityError('invalid_argument', `${file} must hold exactly one document`);
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null;
