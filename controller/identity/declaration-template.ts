import { IdentityError } from '../../core/errors.ts';
import type { IdentityDeclaration } from '../../crds/identity-declaration.ts';
import { parseTemplate, type Template } from '../template/template.ts';

/** What application teams cannot read by themselves: labels and annotations of nodes are for those who run them. */
const NOT_FOR_TEAMS: ReadonlySet<string> = new Set(['NodeMeta', 'NodeSpec']);

/**
 * Parses a template of a declaration. Those of a WorkloadIdentity may read the pod and nothing of its node.
 *
 * @throws IdentityError `invalid_argument`, naming the field and the position, for what is no template; `permission_denied` for
 *   one that reads what its kind may not
 */
export function parseDeclarationTemplate({ kind }: Pick<IdentityDeclaration, 'kind'>, text: string, field: string): Template {
  const template = parseTemplate(text, field);
  if (kind !== 'WorkloadIdentity') return template;
  for (const [root] of template.references) {
    if (root !== undefined && !NOT_FOR_TEAMS.has(root)) continue;
    const what = root === undefined ? 'everything, the node included' : `.${root}`;
    const message = `reads ${what}; a WorkloadIdentity may not read nodes, use .PodMeta and .PodSpec, or have a ClusterWorkloadIdentity declare it`;
    throw new IdentityError('permission_denied', message, { field });
  }
  return template;
}
