"""Records of pictures (`types.image`), of video (`types.clip`) and what they share (`types.common`)."""
