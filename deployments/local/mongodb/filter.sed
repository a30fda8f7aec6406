# FerretDB finds a document by its _id only when the filter says nothing else, and otherwise reads the whole collection. Every
# compare-and-set names a version, too. What is found is compared with all of the filter afterwards, in either case.
s/params\.Filter\.Len() == 1/params.Filter.Len() >= 1/
