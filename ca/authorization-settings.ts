import type { MessageInitShape } from '@bufbuild/protobuf';
import type { AuthorizationSettingsSchema } from '../proto/gen/countersign/node/v1/node_pb.ts';
import type { CaConfig } from './config.ts';
import { authorizationServerMetadata } from './exchange/metadata.ts';

/** What agents are told of authorization in all of the trust domain. */
export function authorizationSettings({
  authorization,
  tokenExchange,
  listen,
}: CaConfig): MessageInitShape<typeof AuthorizationSettingsSchema> {
  const defaultAction = authorization.default;
  if (tokenExchange === undefined || listen.token === undefined) return { defaultAction };
  const { issuer } = tokenExchange;
  return { defaultAction, exchangeIssuer: issuer, exchangeJwksUri: authorizationServerMetadata(issuer).jwks_uri };
}
