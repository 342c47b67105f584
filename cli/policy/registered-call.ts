import type { Call } from '../../policy/model.ts';
import { metadataOf, type WorkloadMetadata } from '../../policy/workload-metadata.ts';
import { Entry as EntryService } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import type { Entry } from '../../proto/gen/spire/api/types/entry_pb.ts';
import type { GrpcConnection } from '../../runtime/grpc-client.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import { wireId } from '../entry-fields.ts';

/** A call with the namespaces and service accounts that it leaves out, as far as the registrations at the CA say them. */
export async function withRegistrations(connection: GrpcConnection, call: Call): Promise<Call> {
  const [source, destination] = await Promise.all([
    registered(connection, call.source.spiffeId),
    registered(connection, call.destination.spiffeId),
  ]);
  return { ...call, source: { ...source, ...call.source }, destination: { ...destination, ...call.destination } };
}

async function registered(connection: GrpcConnection, id: SpiffeId | undefined): Promise<WorkloadMetadata> {
  if (id === undefined) return {};
  const { entries } = await connection.client(EntryService).listEntries({ filter: { bySpiffeId: wireId(id.toString()) } });
  const said = entries.map(metadataOfEntry);
  const agreed = (part: keyof WorkloadMetadata): string | undefined =>
    said.every((each) => each[part] === said[0]?.[part]) ? said[0]?.[part] : undefined;
  const [namespace, serviceAccount] = [agreed('namespace'), agreed('serviceAccount')];
  return { ...(namespace === undefined ? {} : { namespace }), ...(serviceAccount === undefined ? {} : { serviceAccount }) };
}

function metadataOfEntry({ countersignWorkload, selectors }: Entry): WorkloadMetadata {
  const { namespace = '', serviceAccount = '' } = countersignWorkload ?? {};
  const declared = { ...(namespace === '' ? {} : { namespace }), ...(serviceAccount === '' ? {} : { serviceAccount }) };
  return metadataOf(
    declared,
    selectors.map(({ type, value }) => `${type}:${value}`),
  );
}
