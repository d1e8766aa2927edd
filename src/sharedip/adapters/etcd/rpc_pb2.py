"""Generated from sharedip/adapters/etcd/rpc.proto by generate.py; `make proto` writes it anew. Do not edit."""

try:
    # The half in C alone. The documented way to it loads the one in Python as well: more than 1 MB that nothing uses.
    from google._upb import _message
    from google.protobuf.message import Message
except ImportError:  # a protobuf that is built without it
    from google.protobuf import descriptor_pool as _message
    from google.protobuf import message_factory

# A pool of our own: whoever else in this process speaks etcd has messages of the same names in the default one.
_pool = _message.DescriptorPool()
_pool.AddSerializedFile(
    b'\n sharedip/adapters/etcd'
    b'/rpc.proto\x12\x0cetcdserverpb'
    b'"d\n\x08KeyValue\x12\x0b\n\x03key\x18\x01 \x01('
    b'\x0c\x12\x17\n\x0fcreate_revision\x18\x02 \x01'
    b'(\x03\x12\x14\n\x0cmod_revision\x18\x03 \x01(\x03'
    b'\x12\r\n\x05value\x18\x05 \x01(\x0c\x12\r\n\x05lease'
    b'\x18\x06 \x01(\x03"z\n\x05Event\x12+\n\x04type\x18'
    b'\x01 \x01(\x0e2\x1d.etcdserverpb.Eve'
    b'nt.EventType\x12"\n\x02kv\x18\x02 \x01(\x0b'
    b'2\x16.etcdserverpb.KeyValue'
    b'" \n\tEventType\x12\x07\n\x03PUT\x10\x00\x12\n'
    b'\n\x06DELETE\x10\x01"\\\n\x0eResponseHe'
    b'ader\x12\x12\n\ncluster_id\x18\x01 \x01(\x04'
    b'\x12\x11\n\tmember_id\x18\x02 \x01(\x04\x12\x10\n\x08r'
    b'evision\x18\x03 \x01(\x03\x12\x11\n\traft_te'
    b'rm\x18\x04 \x01(\x04"H\n\x0cRangeRequest'
    b'\x12\x0b\n\x03key\x18\x01 \x01(\x0c\x12\x11\n\trange_e'
    b'nd\x18\x02 \x01(\x0c\x12\x18\n\x10min_mod_revi'
    b'sion\x18\n \x01(\x03"\x7f\n\rRangeRespo'
    b'nse\x12,\n\x06header\x18\x01 \x01(\x0b2\x1c.et'
    b'cdserverpb.ResponseHeade'
    b'r\x12#\n\x03kvs\x18\x02 \x03(\x0b2\x16.etcdser'
    b'verpb.KeyValue\x12\x0c\n\x04more\x18\x03'
    b' \x01(\x08\x12\r\n\x05count\x18\x04 \x01(\x03"7\n\nP'
    b'utRequest\x12\x0b\n\x03key\x18\x01 \x01(\x0c\x12\r'
    b'\n\x05value\x18\x02 \x01(\x0c\x12\r\n\x05lease\x18\x03'
    b' \x01(\x03";\n\x0bPutResponse\x12,\n\x06h'
    b'eader\x18\x01 \x01(\x0b2\x1c.etcdserver'
    b'pb.ResponseHeader"4\n\x12Del'
    b'eteRangeRequest\x12\x0b\n\x03key\x18\x01'
    b' \x01(\x0c\x12\x11\n\trange_end\x18\x02 \x01(\x0c"'
    b'T\n\x13DeleteRangeResponse\x12,'
    b'\n\x06header\x18\x01 \x01(\x0b2\x1c.etcdser'
    b'verpb.ResponseHeader\x12\x0f\n\x07'
    b'deleted\x18\x02 \x01(\x03"\xbe\x01\n\tReques'
    b'tOp\x123\n\rrequest_range\x18\x01 \x01'
    b'(\x0b2\x1a.etcdserverpb.RangeR'
    b'equestH\x00\x12/\n\x0brequest_put\x18'
    b'\x02 \x01(\x0b2\x18.etcdserverpb.Put'
    b'RequestH\x00\x12@\n\x14request_del'
    b'ete_range\x18\x03 \x01(\x0b2 .etcdse'
    b'rverpb.DeleteRangeReques'
    b'tH\x00B\t\n\x07request"\xc6\x01\n\nRespo'
    b'nseOp\x125\n\x0eresponse_range\x18'
    b'\x01 \x01(\x0b2\x1b.etcdserverpb.Ran'
    b'geResponseH\x00\x121\n\x0cresponse'
    b'_put\x18\x02 \x01(\x0b2\x19.etcdserverp'
    b'b.PutResponseH\x00\x12B\n\x15respo'
    b'nse_delete_range\x18\x03 \x01(\x0b2!'
    b'.etcdserverpb.DeleteRang'
    b'eResponseH\x00B\n\n\x08response"'
    b'\xce\x02\n\x07Compare\x123\n\x06result\x18\x01 '
    b'\x01(\x0e2#.etcdserverpb.Compa'
    b're.CompareResult\x123\n\x06targ'
    b'et\x18\x02 \x01(\x0e2#.etcdserverpb.'
    b'Compare.CompareTarget\x12\x0b\n'
    b'\x03key\x18\x03 \x01(\x0c\x12\x19\n\x0fcreate_rev'
    b'ision\x18\x05 \x01(\x03H\x00\x12\x16\n\x0cmod_rev'
    b'ision\x18\x06 \x01(\x03H\x00"@\n\rCompare'
    b'Result\x12\t\n\x05EQUAL\x10\x00\x12\x0b\n\x07GRE'
    b'ATER\x10\x01\x12\x08\n\x04LESS\x10\x02\x12\r\n\tNOT_'
    b'EQUAL\x10\x03"G\n\rCompareTarget'
    b'\x12\x0b\n\x07VERSION\x10\x00\x12\n\n\x06CREATE\x10'
    b'\x01\x12\x07\n\x03MOD\x10\x02\x12\t\n\x05VALUE\x10\x03\x12\t\n'
    b'\x05LEASE\x10\x04B\x0e\n\x0ctarget_union'
    b'"\x88\x01\n\nTxnRequest\x12&\n\x07compa'
    b're\x18\x01 \x03(\x0b2\x15.etcdserverpb.'
    b'Compare\x12(\n\x07success\x18\x02 \x03(\x0b'
    b'2\x17.etcdserverpb.RequestO'
    b'p\x12(\n\x07failure\x18\x03 \x03(\x0b2\x17.etc'
    b'dserverpb.RequestOp"{\n\x0bT'
    b'xnResponse\x12,\n\x06header\x18\x01 \x01'
    b'(\x0b2\x1c.etcdserverpb.Respon'
    b'seHeader\x12\x11\n\tsucceeded\x18\x02 '
    b'\x01(\x08\x12+\n\tresponses\x18\x03 \x03(\x0b2\x18'
    b'.etcdserverpb.ResponseOp'
    b'",\n\x11LeaseGrantRequest\x12\x0b\n'
    b'\x03TTL\x18\x01 \x01(\x03\x12\n\n\x02ID\x18\x02 \x01(\x03"j'
    b'\n\x12LeaseGrantResponse\x12,\n\x06'
    b'header\x18\x01 \x01(\x0b2\x1c.etcdserve'
    b'rpb.ResponseHeader\x12\n\n\x02ID'
    b'\x18\x02 \x01(\x03\x12\x0b\n\x03TTL\x18\x03 \x01(\x03\x12\r\n\x05e'
    b'rror\x18\x04 \x01(\t" \n\x12LeaseRevok'
    b'eRequest\x12\n\n\x02ID\x18\x01 \x01(\x03"C\n\x13'
    b'LeaseRevokeResponse\x12,\n\x06h'
    b'eader\x18\x01 \x01(\x0b2\x1c.etcdserver'
    b'pb.ResponseHeader"#\n\x15Lea'
    b'seKeepAliveRequest\x12\n\n\x02ID'
    b'\x18\x01 \x01(\x03"_\n\x16LeaseKeepAlive'
    b'Response\x12,\n\x06header\x18\x01 \x01(\x0b'
    b'2\x1c.etcdserverpb.Response'
    b'Header\x12\n\n\x02ID\x18\x02 \x01(\x03\x12\x0b\n\x03TT'
    b'L\x18\x03 \x01(\x03"[\n\x0cWatchRequest\x12'
    b':\n\x0ecreate_request\x18\x01 \x01(\x0b2'
    b' .etcdserverpb.WatchCrea'
    b'teRequestH\x00B\x0f\n\rrequest_u'
    b'nion"^\n\x12WatchCreateReque'
    b'st\x12\x0b\n\x03key\x18\x01 \x01(\x0c\x12\x11\n\trange'
    b'_end\x18\x02 \x01(\x0c\x12\x16\n\x0estart_revi'
    b'sion\x18\x03 \x01(\x03\x12\x10\n\x08fragment\x18\x08'
    b' \x01(\x08"\xda\x01\n\rWatchResponse\x12,'
    b'\n\x06header\x18\x01 \x01(\x0b2\x1c.etcdser'
    b'verpb.ResponseHeader\x12\x10\n\x08'
    b'watch_id\x18\x02 \x01(\x03\x12\x0f\n\x07create'
    b'd\x18\x03 \x01(\x08\x12\x10\n\x08canceled\x18\x04 \x01('
    b'\x08\x12\x18\n\x10compact_revision\x18\x05 '
    b'\x01(\x03\x12\x15\n\rcancel_reason\x18\x06 \x01'
    b'(\t\x12\x10\n\x08fragment\x18\x07 \x01(\x08\x12#\n\x06'
    b'events\x18\x0b \x03(\x0b2\x13.etcdserve'
    b'rpb.Event"\x0f\n\rStatusReque'
    b'st"\x94\x01\n\x0eStatusResponse\x12,\n'
    b'\x06header\x18\x01 \x01(\x0b2\x1c.etcdserv'
    b'erpb.ResponseHeader\x12\x0f\n\x07v'
    b'ersion\x18\x02 \x01(\t\x12\x0e\n\x06leader\x18\x04'
    b' \x01(\x04\x12\x10\n\x08raftTerm\x18\x06 \x01(\x04\x12\x0e'
    b'\n\x06errors\x18\x08 \x03(\t\x12\x11\n\tisLear'
    b'ner\x18\n \x01(\x08"%\n\x11MoveLeaderR'
    b'equest\x12\x10\n\x08targetID\x18\x01 \x01(\x04'
    b'"B\n\x12MoveLeaderResponse\x12,'
    b'\n\x06header\x18\x01 \x01(\x0b2\x1c.etcdser'
    b'verpb.ResponseHeader"5\n\x13'
    b'AuthenticateRequest\x12\x0c\n\x04n'
    b'ame\x18\x01 \x01(\t\x12\x10\n\x08password\x18\x02 '
    b'\x01(\t"S\n\x14AuthenticateRespo'
    b'nse\x12,\n\x06header\x18\x01 \x01(\x0b2\x1c.et'
    b'cdserverpb.ResponseHeade'
    b'r\x12\r\n\x05token\x18\x02 \x01(\t"\x13\n\x11Memb'
    b'erListRequest"[\n\x06Member\x12'
    b'\n\n\x02ID\x18\x01 \x01(\x04\x12\x0c\n\x04name\x18\x02 \x01('
    b'\t\x12\x10\n\x08peerURLs\x18\x03 \x03(\t\x12\x12\n\nc'
    b'lientURLs\x18\x04 \x03(\t\x12\x11\n\tisLea'
    b'rner\x18\x05 \x01(\x08"i\n\x12MemberList'
    b'Response\x12,\n\x06header\x18\x01 \x01(\x0b'
    b'2\x1c.etcdserverpb.Response'
    b'Header\x12%\n\x07members\x18\x02 \x03(\x0b2'
    b'\x14.etcdserverpb.Member2\xd6\x01'
    b'\n\x02KV\x12@\n\x05Range\x12\x1a.etcdserv'
    b'erpb.RangeRequest\x1a\x1b.etcd'
    b'serverpb.RangeResponse\x12R'
    b'\n\x0bDeleteRange\x12 .etcdserv'
    b'erpb.DeleteRangeRequest\x1a'
    b'!.etcdserverpb.DeleteRan'
    b'geResponse\x12:\n\x03Txn\x12\x18.etcd'
    b'serverpb.TxnRequest\x1a\x19.et'
    b'cdserverpb.TxnResponse2\x8d'
    b'\x02\n\x05Lease\x12O\n\nLeaseGrant\x12\x1f'
    b'.etcdserverpb.LeaseGrant'
    b'Request\x1a .etcdserverpb.L'
    b'easeGrantResponse\x12R\n\x0bLea'
    b'seRevoke\x12 .etcdserverpb.'
    b'LeaseRevokeRequest\x1a!.etc'
    b'dserverpb.LeaseRevokeRes'
    b'ponse\x12_\n\x0eLeaseKeepAlive\x12'
    b'#.etcdserverpb.LeaseKeep'
    b'AliveRequest\x1a$.etcdserve'
    b'rpb.LeaseKeepAliveRespon'
    b'se(\x010\x012M\n\x05Watch\x12D\n\x05Watch'
    b'\x12\x1a.etcdserverpb.WatchReq'
    b'uest\x1a\x1b.etcdserverpb.Watc'
    b'hResponse(\x010\x012\xa3\x01\n\x0bMainte'
    b'nance\x12C\n\x06Status\x12\x1b.etcdse'
    b'rverpb.StatusRequest\x1a\x1c.e'
    b'tcdserverpb.StatusRespon'
    b'se\x12O\n\nMoveLeader\x12\x1f.etcds'
    b'erverpb.MoveLeaderReques'
    b't\x1a .etcdserverpb.MoveLea'
    b'derResponse2]\n\x04Auth\x12U\n\x0cA'
    b'uthenticate\x12!.etcdserver'
    b'pb.AuthenticateRequest\x1a"'
    b'.etcdserverpb.Authentica'
    b'teResponse2Z\n\x07Cluster\x12O\n'
    b'\nMemberList\x12\x1f.etcdserver'
    b'pb.MemberListRequest\x1a .e'
    b'tcdserverpb.MemberListRe'
    b'sponseb\x06proto3'
)
DESCRIPTOR = _pool.FindFileByName("sharedip/adapters/etcd/rpc.proto")


def _class(name):
    described = _pool.FindMessageTypeByName("etcdserverpb." + name)
    if hasattr(_message, "MessageMeta"):
        return _message.MessageMeta(name, (Message,), {"DESCRIPTOR": described, "__module__": __name__})
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(described)
    return message_factory.MessageFactory(_pool).GetPrototype(described)  # before 4.22


KeyValue = _class("KeyValue")
Event = _class("Event")
ResponseHeader = _class("ResponseHeader")
RangeRequest = _class("RangeRequest")
RangeResponse = _class("RangeResponse")
PutRequest = _class("PutRequest")
PutResponse = _class("PutResponse")
DeleteRangeRequest = _class("DeleteRangeRequest")
DeleteRangeResponse = _class("DeleteRangeResponse")
RequestOp = _class("RequestOp")
ResponseOp = _class("ResponseOp")
Compare = _class("Compare")
TxnRequest = _class("TxnRequest")
TxnResponse = _class("TxnResponse")
LeaseGrantRequest = _class("LeaseGrantRequest")
LeaseGrantResponse = _class("LeaseGrantResponse")
LeaseRevokeRequest = _class("LeaseRevokeRequest")
LeaseRevokeResponse = _class("LeaseRevokeResponse")
LeaseKeepAliveRequest = _class("LeaseKeepAliveRequest")
LeaseKeepAliveResponse = _class("LeaseKeepAliveResponse")
WatchRequest = _class("WatchRequest")
WatchCreateRequest = _class("WatchCreateRequest")
WatchResponse = _class("WatchResponse")
StatusRequest = _class("StatusRequest")
StatusResponse = _class("StatusResponse")
MoveLeaderRequest = _class("MoveLeaderRequest")
MoveLeaderResponse = _class("MoveLeaderResponse")
AuthenticateRequest = _class("AuthenticateRequest")
AuthenticateResponse = _class("AuthenticateResponse")
MemberListRequest = _class("MemberListRequest")
Member = _class("Member")
MemberListResponse = _class("MemberListResponse")
