import { IdentityError } from '../../core/errors.ts';
import type { IdentitySettings } from './settings.ts';

/**
 * Checks what depends on the controller's configuration and on no pod.
 *
 * @throws IdentityError `permission_denied`
 */
export function checkDeclaration(
  { kind, admin, downstream }: { readonly kind: string; readonly admin: boolean; readonly downstream: boolean },
  { allowAdminIdentities }: Pick<IdentitySettings, 'allowAdminIdentities'>,
): void {
  if ((!admin && !downstream) || allowAdminIdentities) return;
  const field = admin ? 'spec.admin' : 'spec.downstream';
  throw new IdentityError(
    'permission_denied',
    `a ${kind} may not be ${admin ? 'admin' : 'downstream'} here; set allowAdminIdentities: true in controller.yaml to allow it`,
    { field },
  );
}
