"""Calls services with stubs that are made from what the server's reflection says.

calls.py REFLECTION TARGET

REFLECTION and TARGET are addresses: where descriptors are asked for, and where the calls go. Standard input has a JSON list of
calls, each {"method": "SERVICE/METHOD", "request", "metadata", "timeout"}; printed is a list of {"code", "details", "retry", "metadata",
"messages"}, messages in protobuf's JSON.
"""

import json
import sys

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


def call(channel, pool, wanted):
    service, name = wanted["method"].split("/")
    method = pool.FindServiceByName(service).methods_by_name[name]
    request = json_format.ParseDict(wanted.get("request", {}), GetMessageClass(method.input_type)())
    # One answer is the same on the wire as a stream of one.
    stub = channel.unary_stream(
        f"/{wanted['method']}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    answers = stub(request, metadata=list(wanted.get("metadata", {}).items()), timeout=wanted.get("timeout"))
    messages = []
    try:
        messages = [json_format.MessageToDict(message) for message in answers]
    except grpc.RpcError:
        pass
    trailers = dict(answers.trailing_metadata() or ())
    return {
        "code": answers.code().name,
        "details": answers.details(),
        "retry": retry(trailers.get("grpc-status-details-bin")),
        "metadata": {key: value for key, value in answers.initial_metadata() or () if isinstance(value, str)},
        "messages": messages,
    }


def retry(details):
    """Seconds from RetryInfo; None without it."""
    if details is None:
        return None
    for detail in status_pb2.Status.FromString(details).details:
        info = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            return info.retry_delay.seconds + info.retry_delay.nanos / 1e9
    return None


def main():
    reflection, target = sys.argv[1:]
    with grpc.insecure_channel(reflection) as descriptors, grpc.insecure_channel(target) as channel:
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(descriptors))
        json.dump([call(channel, pool, wanted) for wanted in json.load(sys.stdin)], sys.stdout)


main()
