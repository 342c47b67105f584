/**
 * A path with variables: `{id}` stands for one whole segment, `{rest=**}` (only as the last) for one or more. Made by {@link parsePathTemplate}.
 */
export interface PathTemplate {
  readonly segments: readonly TemplateSegment[];
}

/** A literal, a variable of one segment, or the rest. */
export type TemplateSegment =
  | { readonly kind: 'literal'; readonly text: string }
  | { readonly kind: 'variable' | 'rest'; readonly name: string };

const VARIABLE = /^\{([A-Za-z_][A-Za-z0-9_]{0,63})(=\*\*)?\}$/;

/** Reads a template such as `/orders/{id}/items`; undefined for what is none. */
export function parsePathTemplate(text: string): PathTemplate | undefined {
  if (!text.startsWith('/')) return undefined;
  const parts = text === '/' ? [] : text.slice(1).split('/');
  const segments = parts.map(readSegment);
  const isBroken = segments.some(
    (segment, index) => segment === undefined || (segment.kind === 'rest' && index < parts.length - 1),
  );
  // The cast is sound: none of them is undefined.
  return isBroken ? undefined : { segments: segments as TemplateSegment[] };
}

function readSegment(text: string): TemplateSegment | undefined {
  const [, name, rest] = VARIABLE.exec(text) ?? [];
  if (name !== undefined) return { kind: rest === undefined ? 'variable' : 'rest', name };
  return text === '' || /[{}*]/.test(text) ? undefined : { kind: 'literal', text };
}

/** Whether a normalised path fits the template. */
export function fitsTemplate({ segments }: PathTemplate, path: string): boolean {
  let at = 1;
  for (const [index, segment] of segments.entries()) {
    if (at > path.length || (at === path.length && at === 1)) return false;
    if (segment.kind === 'rest') return true;
    const slash = path.indexOf('/', at);
    const end = slash === -1 ? path.length : slash;
    if (segment.kind === 'literal' && !(end - at === segment.text.length && path.startsWith(segment.text, at))) return false;
    if (index === segments.length - 1) return end === path.length;
    at = end + 1;
  }
  return path === '/';
}

/** Values of the template's variables in a path that fits it. */
export function variablesOf({ segments }: PathTemplate, path: string): Readonly<Record<string, string>> {
  const parts = path.slice(1).split('/');
  const found = segments.flatMap((segment, index) => {
    if (segment.kind === 'literal') return [];
    return [[segment.name, segment.kind === 'rest' ? parts.slice(index).join('/') : (parts[index] ?? '')] as const];
  });
  return Object.fromEntries(found);
}
