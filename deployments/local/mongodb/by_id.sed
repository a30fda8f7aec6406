# FerretDB makes an index on _ferretdb_sjson->"_id" and asks for _ferretdb_sjson->'$._id', which means the same and finds no
# index: whatever is done to one document reads the whole collection.
s/->'\$\._id'/->'_id'/
# It asks so only when the filter names nothing but the _id. Every compare-and-set names a version, too. What is found is
# compared with all of the filter afterwards, in either case.
s/params\.Filter\.Len() == 1/params.Filter.Len() >= 1/
